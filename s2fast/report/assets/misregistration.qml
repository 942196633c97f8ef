<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" labelsEnabled="1" styleCategories="Symbology|Labeling">
  <renderer-v2 type="singleSymbol" enableorderby="0">
    <symbols>
      <symbol type="marker" name="0" alpha="1">
        <layer class="GeometryGenerator" enabled="1">
          <Option type="Map">
            <Option type="QString" name="SymbolType" value="Line"/>
            <Option type="QString" name="geometryModifier" value="make_line($geometry, translate($geometry, coalesce(&quot;offset_x_m&quot;, 0) * &quot;exaggeration&quot;, coalesce(&quot;offset_y_m&quot;, 0) * &quot;exaggeration&quot;))"/>
            <Option type="QString" name="units" value="MapUnit"/>
          </Option>
          <symbol type="line" name="@0@0" alpha="1">
            <layer class="ArrowLine" enabled="1">
              <Option type="Map">
                <Option type="QString" name="arrow_width" value="0.6"/>
                <Option type="QString" name="arrow_start_width" value="0.6"/>
                <Option type="QString" name="arrow_width_unit" value="MM"/>
                <Option type="QString" name="arrow_start_width_unit" value="MM"/>
                <Option type="QString" name="head_length" value="1.6"/>
                <Option type="QString" name="head_thickness" value="1"/>
                <Option type="QString" name="head_length_unit" value="MM"/>
                <Option type="QString" name="head_thickness_unit" value="MM"/>
                <Option type="QString" name="is_curved" value="0"/>
              </Option>
              <symbol type="fill" name="@@0@0@0" alpha="1">
                <layer class="SimpleFill" enabled="1">
                  <Option type="Map">
                    <Option type="QString" name="color" value="213,94,0,255"/>
                    <Option type="QString" name="outline_style" value="no"/>
                    <Option type="QString" name="style" value="solid"/>
                  </Option>
                </layer>
              </symbol>
            </layer>
          </symbol>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <labeling type="simple">
    <settings>
      <text-style fieldName="&quot;tile&quot; || ' ' || coalesce(format_date(&quot;sensing_time&quot;, 'yyyy-MM-dd'), &quot;scene_id&quot;)" isExpression="1" fontSize="8" fontSizeUnit="Point" textColor="27,31,36,255">
        <text-buffer bufferDraw="1" bufferSize="0.8" bufferSizeUnits="MM" bufferColor="255,255,255,255"/>
      </text-style>
      <placement placement="0" dist="2" distUnits="MM"/>
    </settings>
  </labeling>
</qgis>
